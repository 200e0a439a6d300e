({ needed, optional ? 1 }: needed) { optional = 2; }
