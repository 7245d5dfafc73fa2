//! Plans walks; the squares come from the build script.
include!(concat!(env!("OUT_DIR"), "/squares.rs"));

/// Minutes a walk of some kilometres takes.
///
/// ```
/// assert_eq!(planner::minutes(5), 60);
/// ```
pub fn minutes(km: u32) -> u32 {
    units::hours_to_minutes(km) / 5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares() {
        assert_eq!(SQUARES[7], 49);
    }

    #[test]
    fn threads() {
        let sums: Vec<u32> = (0..4u32)
            .map(|n| std::thread::spawn(move || minutes(n * 5)))
            .map(|t| t.join().unwrap())
            .collect();
        assert_eq!(sums, [0, 60, 120, 180]);
    }
}
