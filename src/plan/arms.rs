//! The arms of a run and the message of each.

use crate::campaigns::{Arms, Campaign, Message};
use crate::store::runs::{Arm, HELD_OUT};
use crate::types::Channel;
use std::collections::HashMap;

/// Names and numbers of a run's arms: 0 held out, then variants in the order of the file, or values of an attribute as first seen.
#[derive(Debug, Clone)]
pub struct ArmNames {
    names: Vec<String>,
    numbers: HashMap<String, i16>,
}

impl ArmNames {
    pub fn of(campaign: &Campaign) -> Self {
        let mut arms = ArmNames { names: vec!["held_out".to_string()], numbers: HashMap::new() };
        match &campaign.arms {
            Arms::Single => {
                arms.number("all");
            }
            Arms::Variants(variants) => variants.iter().for_each(|variant| {
                arms.number(&variant.name);
            }),
            Arms::FromAttribute(_) => {}
        }
        arms
    }

    /// The number of this name, new or known; `None` when there are far too many.
    pub fn number(&mut self, name: &str) -> Option<i16> {
        if let Some(number) = self.numbers.get(name) {
            return Some(*number);
        }
        let number = i16::try_from(self.names.len()).ok()?;
        self.names.push(name.to_string());
        self.numbers.insert(name.to_string(), number);
        Some(number)
    }

    pub fn rows(&self) -> Vec<Arm> {
        let arm = |(number, name): (usize, &String)| {
            let arm = i16::try_from(number).unwrap_or(i16::MAX);
            Arm { arm, name: name.clone(), held_out: arm == HELD_OUT }
        };
        self.names.iter().enumerate().map(arm).collect()
    }
}

/// The message of an arm: a variant's own, else the campaign's.
pub fn message_for(campaign: &Campaign, arm: i16) -> &Message {
    match (&campaign.arms, usize::try_from(arm - 1)) {
        (Arms::Variants(variants), Ok(index)) => variants.get(index).map_or(&campaign.message, |variant| &variant.message),
        _ => &campaign.message,
    }
}

/// The message of an arm that goes out on this channel.
pub fn message_of(campaign: &Campaign, arm: i16, channel: Channel) -> &Message {
    let first = message_for(campaign, arm);
    std::iter::successors(Some(first), |message| message.otherwise.as_deref()).find(|message| message.channel == channel).unwrap_or(first)
}
