"beside what the link leads to"
