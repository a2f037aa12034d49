//! The links of a campaign's version, numbered.

/// A link that is tracked. Numbers begin at 1 and are given in the order in which a version's templates are compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub number: u16,
    /// The address as the author wrote it; with `{{…}}` where it is filled for each person.
    pub target: String,
    /// No part of it depends on the person: a click leads to `target` as it stands.
    pub literal: bool,
    /// Its host, where that is written out (lower case, without port); `None` when data gives it: then it must be one of `link_hosts`.
    pub host: Option<String>,
}

/// All tracked links of one version. The same target has one number, wherever it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    list: Vec<Link>,
}

impl Links {
    pub fn new() -> Self {
        Self::default()
    }
    /// The number of this target, new or known. `None` when there are more than 65,535 links.
    pub fn number(&mut self, target: &str) -> Option<u16> {
        if let Some(link) = self.list.iter().find(|link| link.target == target) {
            return Some(link.number);
        }
        let number = u16::try_from(self.list.len() + 1).ok()?;
        self.list.push(Link { number, target: target.to_string(), literal: !target.contains("{{"), host: host(target) });
        Some(number)
    }
    pub fn get(&self, number: u16) -> Option<&Link> {
        self.list.get(usize::from(number).checked_sub(1)?)
    }
    pub fn iter(&self) -> impl Iterator<Item = &Link> {
        self.list.iter()
    }
    pub fn len(&self) -> usize {
        self.list.len()
    }
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// The host of an address that may hold `{{…}}`, if the whole host is written out.
fn host(target: &str) -> Option<String> {
    let fixed = target.find("{{").map_or(target, |at| &target[..at]);
    let rest = fixed.split_once("://")?.1;
    let end = rest.find(['/', '?', '#']).or_else(|| (fixed.len() == target.len()).then_some(rest.len()))?;
    let host = rest[..end].rsplit('@').next().unwrap_or_default();
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    (!host.is_empty()).then(|| host.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_target_has_one_number_and_hosts_are_known_only_when_written_out() {
        let mut links = Links::new();
        assert_eq!(links.number("https://Shop.example:8080/a?x={{y}}"), Some(1));
        assert_eq!(links.number("https://{{host}}/a"), Some(2));
        assert_eq!(links.number("https://shop.{{tld}}"), Some(3));
        assert_eq!(links.number("https://shop.example"), Some(4));
        assert_eq!(links.number("https://{{host}}/a"), Some(2));
        let hosts: Vec<_> = links.iter().map(|link| link.host.as_deref()).collect();
        assert_eq!(hosts, [Some("shop.example"), None, None, Some("shop.example")]);
        assert!(links.get(4).unwrap().literal && !links.get(1).unwrap().literal && links.get(0).is_none());
    }
}
