//! Drops purchases below an amount.

use hookmill_plugin::prelude::*;

/// What the subscription's author fills in. The comments become the form's help texts.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Purchases below this amount are dropped.
    minimum: f64,
}

/// The part of the event's data that matters here.
#[derive(Deserialize)]
struct Purchase {
    amount: f64,
}

/// The plugin.
pub struct MyPlugin;

impl Transform for MyPlugin {
    type Config = Config;

    const MANIFEST: Manifest = Manifest::transform("my-plugin", env!("CARGO_PKG_VERSION"))
        .title("My plugin")
        .description("Drops purchases below an amount.");

    fn transform(event: Event, config: &Config) -> Result<Decision, Fault> {
        let purchase: Purchase = event.data_as()?;
        if purchase.amount < config.minimum {
            return Ok(Decision::dropped(format!("{} is below {}", purchase.amount, config.minimum)));
        }
        Ok(Decision::keep(event))
    }
}

hookmill_plugin::transform!(MyPlugin);

#[cfg(test)]
mod tests {
    #[test]
    fn golden() {
        hookmill_plugin::testing::transform::<super::MyPlugin>("golden");
    }
}
