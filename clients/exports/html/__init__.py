"""Reports as one page of HTML with plots, which needs nothing but a browser."""
