"""The nouns and the decisions about them: values in, values out, no input or output."""
