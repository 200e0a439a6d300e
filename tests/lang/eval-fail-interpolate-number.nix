let four = 4; in "${toString four}${four}"
