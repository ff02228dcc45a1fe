"""From events to a ranker that earned its place: labels, training sets, baselines, offline evaluation, gate."""
