"""Reports of studies: console tables, figures and one HTML page."""
