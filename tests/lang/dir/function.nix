x: { inherit x; y = __curPos.line; }
