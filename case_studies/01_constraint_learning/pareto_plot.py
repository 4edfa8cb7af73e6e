"""The plot of the first case study: quality against budget, and the bottles among the wines."""
def draw(cellar, report, path):
    return None
