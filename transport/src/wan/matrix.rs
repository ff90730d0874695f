//! Round-trip times between regions.

use super::WanError;

/// The shipped matrices: name and text. `transport/rtt/README.md` has their sources.
const SHIPPED: [(&str, &str); 3] = [
    ("autobahn", include_str!("../../rtt/autobahn-2024.csv")),
    ("ibm", include_str!("../../rtt/ibm-cloud-2024-09.csv")),
    ("three-regions", include_str!("../../rtt/three-regions-50ms.csv")),
];

/// Longer round trips are a mistake in the file.
const LONGEST_MS: f64 = 60_000.0;
/// More regions are no matrix of cities.
const MAX_REGIONS: usize = 256;

/// Round-trip times between named regions; the diagonal is the time within a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    regions: Vec<String>,
    /// By row (from) and column (to), in milliseconds.
    rtt_ms: Vec<Vec<f64>>,
}

impl Matrix {
    /// Names of the shipped matrices.
    pub fn shipped_names() -> impl Iterator<Item = &'static str> {
        SHIPPED.iter().map(|(name, _)| *name)
    }

    /// A shipped matrix; none if the name is not one of theirs.
    pub fn shipped(name: &str) -> Option<Matrix> {
        let (_, text) = SHIPPED.iter().find(|(own, _)| *own == name)?;
        Some(Matrix::from_csv(text).expect("the shipped matrices are read by a test"))
    }

    /// Reads a table: a first row with the names of the regions behind one field of any content, then for each region,
    /// in the same order, its name and its round trips in milliseconds.
    ///
    /// # Errors
    ///
    /// [`WanError::Matrix`] with the line.
    pub fn from_csv(text: &str) -> Result<Matrix, WanError> {
        let fault = |line, why: String| WanError::Matrix { line, why };
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let (_, head) = lines.next().ok_or_else(|| fault(1, "no header".to_owned()))?;
        let regions: Vec<String> = head.split(',').skip(1).map(|name| name.trim().to_owned()).collect();
        let mut rtt_ms = Vec::with_capacity(regions.len());
        for (line, row) in lines {
            let mut fields = row.split(',').map(str::trim);
            let name = fields.next().unwrap_or_default();
            if regions.get(rtt_ms.len()).is_none_or(|expected| expected != name) {
                return Err(fault(
                    line,
                    format!("region {name:?} is not in the header at this place"),
                ));
            }
            let read = |field: &str| {
                field
                    .parse::<f64>()
                    .map_err(|_| fault(line, format!("{field:?} is no number")))
            };
            rtt_ms.push(fields.map(read).collect::<Result<Vec<f64>, _>>()?);
        }
        Matrix::new(regions, rtt_ms)
    }

    /// Checks that it is square, that names are different and usable, and that times are times.
    ///
    /// # Errors
    ///
    /// [`WanError::Matrix`].
    pub fn new(regions: Vec<String>, rtt_ms: Vec<Vec<f64>>) -> Result<Matrix, WanError> {
        let count = regions.len();
        let fault = |row: usize, why: String| WanError::Matrix { line: row + 2, why };
        if count == 0 || count > MAX_REGIONS || rtt_ms.len() != count {
            let why = format!("{count} regions in the header, {} rows", rtt_ms.len());
            return Err(fault(rtt_ms.len(), why));
        }
        for (index, name) in regions.iter().enumerate() {
            let usable = !name.is_empty() && name.parse::<u64>().is_err() && name != "all" && name != "clients";
            if !usable || regions[..index].contains(name) {
                return Err(fault(
                    index,
                    format!("{name:?} cannot be the name of a region, or is one twice"),
                ));
            }
        }
        for (row, times) in rtt_ms.iter().enumerate() {
            let good = |ms: &&f64| (0.0..=LONGEST_MS).contains(*ms);
            if times.len() != count || times.iter().filter(good).count() != count {
                let why = format!("{} needs {count} times of 0 to {LONGEST_MS} ms", regions[row]);
                return Err(fault(row, why));
            }
        }
        Ok(Matrix { regions, rtt_ms })
    }

    /// The regions, in the order of the table.
    pub fn regions(&self) -> &[String] {
        &self.regions
    }

    /// The table, by row (from) and column (to), in milliseconds.
    pub fn rtt_ms(&self) -> &[Vec<f64>] {
        &self.rtt_ms
    }

    /// Place of a region in the table.
    ///
    /// # Errors
    ///
    /// [`WanError::Region`].
    pub fn region(&self, name: &str) -> Result<usize, WanError> {
        let place = self.regions.iter().position(|own| own == name);
        place.ok_or_else(|| WanError::Region {
            name: name.to_owned(),
            known: self.regions.join(", "),
        })
    }

    /// One way between two regions, in microseconds: half of the round trip that the row gives.
    ///
    /// # Panics
    ///
    /// For a region that the matrix does not have.
    pub fn one_way_us(&self, from: usize, to: usize) -> u64 {
        // At most a minute: the conversion is exact enough.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a minute")]
        let us = (self.rtt_ms[from][to] * 500.0).round() as u64;
        us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_ones_are_read() {
        for name in Matrix::shipped_names() {
            let matrix = Matrix::shipped(name).unwrap();
            assert!(matrix.regions().len() >= 3, "{name}");
        }
        let autobahn = Matrix::shipped("autobahn").unwrap();
        let at = |name| autobahn.region(name).unwrap();
        assert_eq!(autobahn.one_way_us(at("us-east1"), at("us-west1")), 32_000);
        assert_eq!(autobahn.one_way_us(at("us-east5"), at("us-east5")), 250);
        assert!(Matrix::shipped("mars").is_none() && autobahn.region("mars").is_err());
        let ibm = Matrix::shipped("ibm").unwrap();
        assert_eq!(ibm.region("Sao Paulo").unwrap(), 9);
    }

    #[test]
    fn what_is_no_matrix_is_refused_with_its_line() {
        let line = |text: &str| match Matrix::from_csv(text) {
            Err(WanError::Matrix { line, .. }) => line,
            other => panic!("{text:?}: {other:?}"),
        };
        assert_eq!(line(""), 1);
        assert_eq!(line("x,a,b\na,1,2\n"), 3, "a row is missing");
        assert_eq!(line("x,a,b\nb,1,2\na,1,2\n"), 2, "another order");
        assert_eq!(line("x,a,b\na,1,x\nb,1,1\n"), 2);
        assert_eq!(line("x,a,b\na,1,2\nb,1\n"), 3);
        assert_eq!(line("x,a,b\na,1,2\nb,1,-1\n"), 3);
        assert_eq!(line("x,a,b\na,1,2\nb,1,NaN\n"), 3);
        assert_eq!(line("x,a,a\na,1,2\na,1,1\n"), 3);
        assert_eq!(line("x,1\n1,0\n"), 2, "a number names a replica");
    }
}
