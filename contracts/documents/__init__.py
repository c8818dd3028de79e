"""Documents about contracts, written by `buf generate`: an OpenAPI document, and a Markdown file for each service.

They work on any contracts, and read nothing but descriptors: no generated code, which may be out of date or missing.
"""
