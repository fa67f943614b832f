"""Report of what was measured: results as files, the page of their tables, and plots."""
