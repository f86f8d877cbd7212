"""One module a source. Each lands its bytes unchanged in the raw zone, then yields blocks of lines to parse."""
