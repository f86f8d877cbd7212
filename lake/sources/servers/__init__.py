"""How each kind of server is read: a function from a window of a query to rows."""
