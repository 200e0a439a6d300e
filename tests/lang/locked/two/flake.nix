{
  outputs = { self }: { name = "two"; };
}
