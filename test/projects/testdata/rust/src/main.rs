fn main() {
    println!("{}", planner::minutes(10));
}
