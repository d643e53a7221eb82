//! From the real-time clock's registers to seconds since 1970.
//!
//! Called by: the binary's `clock`.

/// What the clock's date and time registers say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClockRegisters {
    /// Seconds, minutes, hours, day of the month, month, year of the century, century.
    pub values: [u8; 7],
    /// Status register B: bit 2 says binary instead of BCD, bit 1 says 24 instead of 12 hours.
    pub status_b: u8,
}

impl ClockRegisters {
    /// Seconds since 1970, or `None` if the registers hold no date (a machine without a clock reads as all ones).
    pub fn unix_time(self) -> Option<i64> {
        let [second, minute, hour, day, month, year, century] = self.values;
        let number = |value: u8| {
            if self.status_b & 4 != 0 {
                return Some(i64::from(value));
            }
            (value >> 4 <= 9 && value & 15 <= 9).then(|| i64::from(value >> 4) * 10 + i64::from(value & 15))
        };
        let is_afternoon = self.status_b & 2 == 0 && hour & 0x80 != 0;
        let mut hours = number(if self.status_b & 2 == 0 { hour & 0x7f } else { hour })?;
        if self.status_b & 2 == 0 {
            hours = hours % 12 + if is_afternoon { 12 } else { 0 };
        }
        let (seconds, minutes) = (number(second)?, number(minute)?);
        let (days, months, years) = (number(day)?, number(month)?, number(year)?);
        // A century register that holds nothing sensible is not there: then it is this century.
        let centuries = number(century).filter(|century| (19..=21).contains(century)).unwrap_or(20);
        let in_range = seconds < 60 && minutes < 60 && hours < 24 && years < 100;
        if !in_range || !(1..=31).contains(&days) || !(1..=12).contains(&months) {
            return None;
        }
        let days = days_since_1970(centuries * 100 + years, months, days);
        Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    }
}

/// Days from 1 January 1970 to a date of the Gregorian calendar.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    // Years that start in March put the leap day last, so that a month's first day is a linear formula.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(values: [u8; 7], status_b: u8) -> Option<i64> {
        ClockRegisters { values, status_b }.unix_time()
    }

    #[test]
    fn known_dates_in_every_register_format() {
        assert_eq!(time([0, 0, 0, 1, 1, 70, 19], 6), Some(0));
        assert_eq!(time([0x00, 0x00, 0x00, 0x29, 0x02, 0x00, 0x20], 2), Some(951_782_400));
        assert_eq!(
            time([0x07, 0x14, 0x83, 0x19, 0x01, 0x38, 0x20], 0),
            Some(2_147_483_647 + 43_200),
            "3 p.m. on the last day of 32 bits"
        );
        assert_eq!(time([59, 59, 23, 31, 12, 99, 20], 6), Some(4_102_444_799));
        assert_eq!(time([0, 0, 0x12, 1, 1, 0x70, 0x19], 0), Some(0), "12 a.m. is midnight");
        assert_eq!(time([0, 0, 0x92, 1, 1, 0x70, 0x19], 0), Some(43_200), "12 p.m. is noon");
        assert_eq!(time([0, 0, 0, 1, 1, 26, 0], 6), time([0, 0, 0, 1, 1, 26, 20], 6), "no century register");
    }

    #[test]
    fn every_day_of_the_century_is_one_day_after_the_last() {
        let mut previous = days_since_1970(1999, 12, 31);
        for year in 2000..2100 {
            for month in 1..=12 {
                let leap = year % 4 == 0;
                let length =
                    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month as usize - 1];
                for day in 1..=length {
                    assert_eq!(days_since_1970(year, month, day), previous + 1, "{year}-{month}-{day}");
                    previous += 1;
                }
            }
        }
    }

    #[test]
    fn absent_or_impossible_clocks_have_no_time() {
        assert_eq!(time([0xff; 7], 0xff), None);
        assert_eq!(time([0, 0, 0, 0, 1, 1, 20], 6), None);
        assert_eq!(time([60, 0, 0, 1, 1, 1, 20], 6), None);
        assert_eq!(time([0x1a, 0, 0, 1, 1, 1, 20], 2), None);
    }
}
