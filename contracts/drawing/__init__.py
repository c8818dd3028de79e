"""Drawings of a call graph, as SVG and Mermaid, for the methods of any contracts."""
