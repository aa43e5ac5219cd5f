"""What was found, for people and for machines: charts, tables, notebook, page, Markdown, JUnit."""
