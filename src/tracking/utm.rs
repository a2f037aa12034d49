//! utm parameters (standards.md §6): what a shop's own analytics needs to name the campaign.
//!
//! When they are added: to a literal target while the person is redirected, so that `links` and reports hold the address as the author
//! wrote it; to a personal target when it is sealed; to a target without click tracking in the message itself.

/// What the parameters say; `utm_content` is the link's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Utm<'a> {
    /// The workspace's key.
    pub source: &'a str,
    /// The channel's word.
    pub medium: &'a str,
    /// The campaign's key.
    pub campaign: &'a str,
}

/// The target with those parameters that its author did not write, before any `#`; what is there keeps its order and encoding.
/// Addresses that are not http or https stay as they are.
pub fn added(target: &str, utm: &Utm, link: u32) -> String {
    let scheme = target.split_once(':').map_or("", |(scheme, _)| scheme);
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return target.to_string();
    }
    let (address, fragment) = target.find('#').map_or((target, ""), |at| target.split_at(at));
    let (path, query) = address.find('?').map_or((address, None), |at| (&address[..at], Some(&address[at + 1..])));
    let is_written = |name: &str| {
        query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next().is_some_and(|key| key.eq_ignore_ascii_case(name))))
    };
    let number = link.to_string();
    let mut out = String::with_capacity(target.len() + 96);
    out.push_str(path);
    let mut join = '?';
    if let Some(query) = query.filter(|query| !query.is_empty()) {
        out.push('?');
        out.push_str(query);
        join = '&';
    }
    for (name, value) in
        [("utm_source", utm.source), ("utm_medium", utm.medium), ("utm_campaign", utm.campaign), ("utm_content", number.as_str())]
    {
        if !is_written(name) {
            if !(join == '&' && out.ends_with('&')) {
                out.push(join);
            }
            join = '&';
            out.push_str(name);
            out.push('=');
            out.extend(url::form_urlencoded::byte_serialize(value.as_bytes()));
        }
    }
    out.push_str(fragment);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_added_before_the_fragment_and_never_over_the_author_s() {
        let utm = Utm { source: "shop", medium: "email", campaign: "spring-sale" };
        let all = "utm_source=shop&utm_medium=email&utm_campaign=spring-sale&utm_content=3";
        for (target, expected) in [
            ("https://shop.example", format!("https://shop.example?{all}")),
            ("https://shop.example/lamps", format!("https://shop.example/lamps?{all}")),
            ("https://shop.example/lamps#top", format!("https://shop.example/lamps?{all}#top")),
            ("https://shop.example/?", format!("https://shop.example/?{all}")),
            ("https://shop.example/?b=%C3%A4&a", format!("https://shop.example/?b=%C3%A4&a&{all}")),
            ("https://shop.example/?a=1&", format!("https://shop.example/?a=1&{all}")),
            ("https://shop.example/#/route?x=1", format!("https://shop.example/?{all}#/route?x=1")),
            (
                "https://shop.example/?utm_source=own&UTM_Content=hero#f",
                "https://shop.example/?utm_source=own&UTM_Content=hero&utm_medium=email&utm_campaign=spring-sale#f".to_string(),
            ),
            ("https://крамниця.укр/ш", format!("https://крамниця.укр/ш?{all}")),
            ("mailto:a@shop.example", "mailto:a@shop.example".to_string()),
            ("tel:+380441234567", "tel:+380441234567".to_string()),
        ] {
            assert_eq!(added(target, &utm, 3), expected);
        }
    }
}
