"""The places where models answer, each behind the same port."""
