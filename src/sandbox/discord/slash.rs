//! A typed line, `/migrate start runbook:x at:"2026-11-21 22:00"`, read against the registered commands
//! as Discord's client would let a person fill it in.

use serde_json::{Value, json};
use twilight_model::application::command::{
    Command, CommandOption, CommandOptionChoiceValue, CommandOptionType, CommandOptionValue, CommandType,
};

use super::chat::Chat;
use super::people::Refused;
use super::wire;

/// A line that fits a command.
#[derive(Debug)]
pub(super) struct Filled {
    pub(super) command: Command,
    /// `data.options`, nested below sub-commands.
    pub(super) options: Value,
    /// `data.resolved`: the users, roles and channels among the options.
    pub(super) resolved: Value,
}

/// Reads `text`. `completing`: the last option is still being typed, and required ones may be missing.
///
/// # Errors
/// Says what is not known, missing or of the wrong kind, and what there is.
pub(super) fn fill(chat: &Chat, text: &str, completing: bool) -> Result<Filled, Refused> {
    let line = text.trim_start().strip_prefix('/').ok_or_else(|| Refused::new("a command begins with /"))?;
    let (name, mut rest) = next_word(line);
    let commands = || chat.commands.iter().filter(|command| command.kind == CommandType::ChatInput);
    let Some(command) = commands().find(|command| command.name == name) else {
        return Err(Refused::unknown("command", name, commands().map(|command| format!("/{}", command.name))));
    };
    let mut level = command.options.as_slice();
    let mut path = Vec::new();
    while level.iter().any(is_nested) {
        let (word, after) = next_word(rest);
        let Some(option) = level.iter().find(|option| is_nested(option) && option.name == word) else {
            return Err(Refused::unknown("sub-command", word, level.iter().map(|option| option.name.clone())));
        };
        path.push(option);
        level = option.options.as_deref().unwrap_or_default();
        rest = after;
    }
    let mut filler = Filler { chat, completing, resolved: json!({}) };
    let mut options = Value::Array(filler.values(level, rest)?);
    for option in path.iter().rev() {
        options = json!([{ "name": option.name, "type": option.kind, "options": options }]);
    }
    Ok(Filled { command: command.clone(), options, resolved: filler.resolved })
}

fn is_nested(option: &CommandOption) -> bool {
    matches!(option.kind, CommandOptionType::SubCommand | CommandOptionType::SubCommandGroup)
}

fn next_word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()))
}

/// `name:value` pairs: a value runs to the next ` name:` of a known option, or stands in quotes.
fn pairs<'a>(text: &'a str, options: &[CommandOption]) -> Result<Vec<(&'a str, String)>, Refused> {
    let mut pairs: Vec<(&str, String)> = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        if let Some((name, value)) = option_start(rest) {
            if !options.iter().any(|option| option.name == name) {
                let hint = "put the value in quotes if this is part of it; options";
                return Err(Refused::unknown(hint, name, options.iter().map(|option| option.name.clone())));
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(Refused::new(format!("option {name} is given twice")));
            }
            pairs.push((name, String::new()));
            rest = value;
            if let Some((quoted, after)) = quoted(value)? {
                pairs.last_mut().expect("just pushed").1 = quoted;
                rest = after.trim_start();
            }
            continue;
        }
        let (word, after) = next_word(rest);
        let Some((_, value)) = pairs.last_mut() else {
            return Err(Refused::unknown("option", word, options.iter().map(|option| option.name.clone())));
        };
        if !value.is_empty() {
            value.push(' ');
        }
        value.push_str(word);
        rest = after.trim_start();
    }
    Ok(pairs)
}

/// `name:` at the start of a word, unless it is the scheme of a URL or a time of day.
fn option_start(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '-'))?;
    let (name, rest) = text.split_at(end);
    let value = rest.strip_prefix(':')?;
    let a_name = name.chars().next().is_some_and(char::is_alphabetic);
    (a_name && !value.starts_with("//")).then_some((name, value))
}

/// A value in double quotes and what follows it; `\"` and `\\` inside.
fn quoted(text: &str) -> Result<Option<(String, &str)>, Refused> {
    let Some(inner) = text.strip_prefix('"') else {
        return Ok(None);
    };
    let mut value = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok(Some((value, &inner[at + 1..]))),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    Err(Refused::new("a quote is not closed"))
}

struct Filler<'a> {
    chat: &'a Chat,
    completing: bool,
    resolved: Value,
}

impl Filler<'_> {
    fn values(&mut self, options: &[CommandOption], text: &str) -> Result<Vec<Value>, Refused> {
        let pairs = pairs(text, options)?;
        let last = pairs.len().saturating_sub(1);
        let mut values = Vec::new();
        for (index, (name, text)) in pairs.iter().enumerate() {
            let option = options.iter().find(|option| option.name == *name).expect("pairs are of known options");
            let mut value = json!({ "name": name, "type": option.kind });
            if self.completing && index == last {
                if option.autocomplete != Some(true) {
                    return Err(Refused::new(format!("option {name} does not complete itself")));
                }
                value["value"] = json!(text);
                value["focused"] = json!(true);
            } else {
                value["value"] = self.value(option, text)?;
            }
            values.push(value);
        }
        let missing = options
            .iter()
            .filter(|option| option.required == Some(true))
            .find(|option| !pairs.iter().any(|(name, _)| *name == option.name));
        match missing {
            Some(option) if !self.completing => {
                Err(Refused::new(format!("option {} is required: {}", option.name, option.description)))
            }
            _ if self.completing && pairs.is_empty() => Err(Refused::new("no option is being typed")),
            _ => Ok(values),
        }
    }

    fn value(&mut self, option: &CommandOption, text: &str) -> Result<Value, Refused> {
        if let Some(choices) = option.choices.as_ref().filter(|choices| !choices.is_empty()) {
            let spelled = |value: &CommandOptionChoiceValue| match value {
                CommandOptionChoiceValue::String(text) => text.clone(),
                CommandOptionChoiceValue::Integer(number) => number.to_string(),
                CommandOptionChoiceValue::Number(number) => number.to_string(),
            };
            let found = choices.iter().find(|choice| choice.name == text || spelled(&choice.value) == text);
            let names = choices.iter().map(|choice| choice.name.clone());
            let found = found.ok_or_else(|| Refused::unknown(&format!("choice of {}", option.name), text, names))?;
            return Ok(json!(found.value));
        }
        let wrong = |what: &str| Refused::new(format!("option {}: {text:?} is not {what}", option.name));
        match option.kind {
            CommandOptionType::String => string(option, text),
            CommandOptionType::Integer => {
                let number: i64 = text.parse().map_err(|_| wrong("a whole number"))?;
                in_range(option, number as f64)?;
                Ok(json!(number))
            }
            CommandOptionType::Number => {
                let number: f64 = text.parse().map_err(|_| wrong("a number"))?;
                in_range(option, number)?;
                Ok(json!(number))
            }
            CommandOptionType::Boolean => match text.to_lowercase().as_str() {
                "true" => Ok(json!(true)),
                "false" => Ok(json!(false)),
                _ => Err(wrong("true or false")),
            },
            CommandOptionType::User => self.user(text).ok_or_else(|| wrong("a member")),
            CommandOptionType::Role => self.role(text).ok_or_else(|| wrong("a role")),
            CommandOptionType::Channel => self.channel(text).ok_or_else(|| wrong("a channel")),
            CommandOptionType::Mentionable => {
                self.user(text).or_else(|| self.role(text)).ok_or_else(|| wrong("a member or role"))
            }
            _ => Err(wrong("something the model can send")),
        }
    }

    fn user(&mut self, text: &str) -> Option<Value> {
        let name = text.trim_start_matches(['@', '<']).trim_end_matches('>');
        let named = |member: &&super::Member| member.name == name || member.id.to_string() == name;
        let member = self.chat.members.values().find(named)?;
        let id = member.id.to_string();
        self.resolved["users"][&id] = wire::user(member);
        self.resolved["members"][&id] = wire::partial_member(member);
        Some(json!(id))
    }

    fn role(&mut self, text: &str) -> Option<Value> {
        let name = text.trim_start_matches(['@', '<', '&']).trim_end_matches('>');
        let role = self.chat.roles.values().find(|role| role.name == name || role.id.to_string() == name)?;
        let id = role.id.to_string();
        self.resolved["roles"][&id] = wire::role(role);
        Some(json!(id))
    }

    fn channel(&mut self, text: &str) -> Option<Value> {
        let name = text.trim_start_matches(['#', '<']).trim_end_matches('>');
        let named = |channel: &&super::Channel| channel.name == name || channel.id.to_string() == name;
        let channel = self.chat.channels.values().find(named)?;
        let id = channel.id.to_string();
        let mut value = wire::channel(self.chat, channel, self.chat.bot);
        value["permissions"] = json!("0");
        self.resolved["channels"][&id] = value;
        Some(json!(id))
    }
}

fn string(option: &CommandOption, text: &str) -> Result<Value, Refused> {
    let length = text.chars().count();
    let (min, max) = (option.min_length.unwrap_or(0), option.max_length.unwrap_or(6000));
    if length < usize::from(min) || length > usize::from(max) {
        return Err(Refused::new(format!("option {} must have {min} to {max} characters", option.name)));
    }
    Ok(json!(text))
}

fn in_range(option: &CommandOption, number: f64) -> Result<(), Refused> {
    let bound = |value: &Option<CommandOptionValue>| match value {
        Some(CommandOptionValue::Integer(bound)) => Some(*bound as f64),
        Some(CommandOptionValue::Number(bound)) => Some(*bound),
        None => None,
    };
    let (min, max) = (bound(&option.min_value), bound(&option.max_value));
    if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
        return Err(Refused::new(format!("option {} must be between {min:?} and {max:?}", option.name)));
    }
    Ok(())
}
