"""Language models behind one port: requests in, replies with tokens, time and price out."""
