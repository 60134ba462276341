"""The networks: rows, and the builders that make models of them."""
