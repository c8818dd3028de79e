"""Operations on the mesh: everything that an operator can read and do, as data.

The command line, the console and the MCP server show the same data, each in its own form.
"""
