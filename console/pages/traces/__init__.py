"""Parts of the pages about traces: the filters, the table of traces, the waterfall and the details of a call."""
