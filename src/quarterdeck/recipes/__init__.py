"""The product's recipes, one page each."""
