"""What follows from the evidence: the verdict, and the promotion that obeys it."""
