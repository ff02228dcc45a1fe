"""How a version's training set is made, how it is fitted, judged, tuned and compared."""
