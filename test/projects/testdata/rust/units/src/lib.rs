pub fn hours_to_minutes(h: u32) -> u32 {
    h * 60
}
