"""How a request becomes a list: item matrix, ranking, resolver and batch."""
