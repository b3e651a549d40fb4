"""Better orders for given backlogs."""
