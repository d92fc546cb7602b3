"""The API over HTTP: one REST interface, errors as RFC 9457 problems, the documented paths on top."""
