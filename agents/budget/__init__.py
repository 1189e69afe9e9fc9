"""How much to label: which texts next, when it is enough, cheap labels beside expensive ones."""
