dialogue::rooms! {}

fn main() {}
