//! Over which time the graphs of a page are drawn: chosen by links, which need no script and carry the API's own words.

use askama::Template;
use askama::filters::HtmlSafe;

use super::Graph;
use crate::monitor::Window;

/// The links, with the chosen one marked, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq, Template)]
#[template(path = "parts/over.html")]
pub struct Over {
    /// One of [`Window::NAMES`].
    chosen: &'static str,
}

impl HtmlSafe for Over {}

impl Over {
    /// Of graphs over the last `chosen`.
    pub fn new(chosen: &'static str) -> Self {
        Self { chosen }
    }

    /// Graphs that say it.
    pub fn of(&self, graphs: Vec<Graph>) -> Vec<Graph> {
        let graphs = graphs.into_iter();
        graphs.map(|graph| graph.over(self.chosen)).collect()
    }

    /// What can be chosen: the word of the address, and as it is read.
    fn links(&self) -> impl Iterator<Item = (&'static str, String)> {
        Window::NAMES.into_iter().map(|name| {
            let mut word = name.to_owned();
            if let Some(first) = word.get_mut(..1) {
                first.make_ascii_uppercase();
            }
            (name, word)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a1_each_range_of_the_api_is_a_link_and_the_chosen_one_is_marked() {
        let told = Over::new("week").to_string();
        assert!(told.contains("Last week"), "{told}");
        for name in Window::NAMES {
            let marked = format!("href=\"?over={name}\" aria-current=\"true\"");
            assert!(told.contains(&format!("href=\"?over={name}\"")), "{told}");
            assert_eq!(told.contains(&marked), name == "week", "{told}");
        }
    }

    #[test]
    fn a1_a_graph_says_over_which_range_it_is() {
        let graphs = Over::new("year").of(vec![Graph::new("CPU", &[Some(0.5)], Some(1.0))]);
        let told = graphs[0].to_string();
        let (_, caption) = told.split_once("<figcaption>").unwrap();
        let (caption, drawing) = caption.split_once("</figcaption>").unwrap();
        assert!(caption.contains("last year"), "{caption}");
        assert!(
            drawing.contains("aria-label=\"CPU, last year:"),
            "{drawing}"
        );
    }
}
