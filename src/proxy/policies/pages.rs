//! Pages of a route's own for the edge's errors.
use http::StatusCode;

use crate::base::policies::ErrorPages;

#[derive(Debug, Default)]
pub(super) struct Pages(Vec<(Of, Vec<Part>)>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Status(u16),
    /// 4 or 5.
    Class(u16),
}

#[derive(Debug)]
enum Part {
    Text(String),
    Status,
    RequestId,
}

impl Pages {
    pub(super) fn new(from: &ErrorPages) -> Pages {
        let of = |key: &str| match key.strip_suffix("xx") {
            Some(class) => class.parse().map(Of::Class),
            None => key.parse().map(Of::Status),
        };
        let pages = from.0.iter();
        Pages(
            pages
                .filter_map(|(key, page)| Some((of(key).ok()?, parts(page))))
                .collect(),
        )
    }

    /// The page of this status, else of its class.
    pub(super) fn render(&self, status: StatusCode, id: &str) -> Option<String> {
        let of = |of: Of| self.0.iter().find(|(key, _)| *key == of);
        let (_, parts) =
            of(Of::Status(status.as_u16())).or_else(|| of(Of::Class(status.as_u16() / 100)))?;
        let mut page = String::new();
        for part in parts {
            page.push_str(match part {
                Part::Text(text) => text,
                Part::Status => status.as_str(),
                Part::RequestId => id,
            });
        }
        Some(page)
    }
}

fn parts(page: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('{') {
        let (name, part) = match &rest[at..] {
            name if name.starts_with("{status}") => ("{status}", Part::Status),
            name if name.starts_with("{request_id}") => ("{request_id}", Part::RequestId),
            _ => {
                parts.push(Part::Text(rest[..=at].to_owned()));
                rest = &rest[at + 1..];
                continue;
            }
        };
        parts.push(Part::Text(rest[..at].to_owned()));
        parts.push(part);
        rest = &rest[at + name.len()..];
    }
    parts.push(Part::Text(rest.to_owned()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e6_a_page_is_filled_in_and_found_by_status_before_class() {
        let text = "404 = \"<style>a{b}</style>{status}{request_id}{\"\n4xx = \"all {status}\"";
        let pages = Pages::new(&toml::from_str(text).unwrap());
        let render = |status: u16| pages.render(StatusCode::from_u16(status).unwrap(), "id7");
        assert_eq!(render(404).unwrap(), "<style>a{b}</style>404id7{");
        assert_eq!(render(413).unwrap(), "all 413");
        assert_eq!(render(502), None);
    }
}
