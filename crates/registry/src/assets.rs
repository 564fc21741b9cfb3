//! The asset registry: what is built in, what the configuration adds, and each chain's own coin.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use assay_types::{Asset, AssetEntry, ChainEntry, ChainId, Deployment, InputError, InputErrors};
use serde::Deserialize;
use toml::Spanned;

use crate::native::{known, of_main_network};
use crate::{ChainNative, Native, Source};

/// The largest `decimals` for which 10^decimals fits in 256 bits.
const MOST_DECIMALS: i64 = 77;
/// How far the deployments of one asset may be apart: what sixteen million accounts hold at most of the coarsest, in units of the finest, fits in
/// 512 bits.
const MOST_APART: u8 = 60;

/// One `[[asset]]` of the built-in registry or of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AssetBlock {
    /// Its symbol.
    pub symbol: Spanned<String>,
    /// Its name, for people.
    pub name: Option<String>,
    /// Where it lives.
    pub on: Vec<DeploymentBlock>,
}

/// One deployment of an [`AssetBlock`].
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeploymentBlock {
    /// Its CAIP-19 id.
    pub id: Spanned<String>,
    /// Its base unit is 10^-decimals coins.
    pub decimals: Spanned<i64>,
}

/// The assets that live on the configured chains, by symbol: those built in, extended and overridden by the
/// configuration's `[[asset]]` blocks, which stand in `config`. What is deployed on other chains is left out.
///
/// # Errors
/// A malformed id, more than 77 decimals, one deployment under two symbols, a chain whose own coin is not known.
pub fn assets(
    chains: &[ChainEntry],
    natives: &[ChainNative],
    config: &Source<'_>,
    blocks: &[AssetBlock],
) -> Result<Vec<AssetEntry>, InputErrors> {
    let mut shelf = Shelf { chains, ..Shelf::default() };
    shelf.add_built_in();
    for (nth, chain) in chains.iter().enumerate() {
        let said = natives.iter().find(|native| native.id == chain.id).and_then(|native| native.native.clone());
        shelf.set_native(chain, said, config, nth);
    }
    let mut symbols = HashSet::new();
    for (nth, block) in blocks.iter().enumerate() {
        let field = format!("asset[{nth}]");
        if !symbols.insert(block.symbol.get_ref()) {
            let why = format!("there is another [[asset]] with the symbol `{}`", block.symbol.get_ref());
            let error = config.error(block.symbol.span().start, why).field(format!("{field}.symbol"));
            shelf.errors.push(error.hint("list all of an asset's deployments in one block"));
        }
        shelf.add(block, config, &field, Layer::Configured);
    }
    shelf.finish()
}

/// Who says that an asset is deployed somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layer {
    BuiltIn,
    Native,
    Configured,
}

/// What is known of one asset on one chain.
struct Placed {
    symbol: String,
    decimals: u8,
    layer: Layer,
}

#[derive(Default)]
struct Shelf<'a> {
    chains: &'a [ChainEntry],
    /// Of the configured chains only.
    placed: HashMap<(ChainId, Asset), Placed>,
    /// Every symbol, by its lower-case form.
    spelled: HashMap<String, String>,
    errors: InputErrors,
}

impl Shelf<'_> {
    fn add_built_in(&mut self) {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct BuiltIn {
            #[serde(default)]
            asset: Vec<AssetBlock>,
        }
        let text = include_str!("../../../data/assets.toml");
        let source = Source::new(Path::new("assets.toml (built in)"), text);
        match toml::from_str::<BuiltIn>(text) {
            Ok(built_in) => {
                for (nth, block) in built_in.asset.iter().enumerate() {
                    self.add(block, &source, &format!("asset[{nth}]"), Layer::BuiltIn);
                }
            }
            Err(error) => self.errors.push(source.toml_error(text, &error)),
        }
    }

    /// The coin of one chain: as the configuration says, or else as is known.
    fn set_native(&mut self, chain: &ChainEntry, said: Option<Native>, config: &Source<'_>, nth: usize) {
        let field = format!("chain[{nth}].native");
        let Some(native) = said.or_else(|| known(&chain.id)) else {
            let why = format!("the coin of {} is not known here", chain.id);
            let error = InputError::new(config.file, why).field(field);
            return self.errors.push(
                error.hint("say it in that [[chain]], for example: native = { symbol = \"ETH\", decimals = 18 }"),
            );
        };
        if i64::from(native.decimals) > MOST_DECIMALS {
            let error = InputError::new(config.file, too_many(i64::from(native.decimals)));
            return self.errors.push(error.field(format!("{field}.decimals")));
        }
        if let Err(error) = self.spell(&native.symbol, InputError::new(config.file, "").field(&field)) {
            return self.errors.push(error);
        }
        let is_token = |((on, asset), placed): (&(ChainId, Asset), &Placed)| {
            *on == chain.id && *asset != Asset::Native && placed.symbol == native.symbol
        };
        if self.placed.iter().any(is_token) {
            let why = format!("`{}` is a token on {}, and cannot be its coin too", native.symbol, chain.id);
            return self.errors.push(InputError::new(config.file, why).field(field).hint("choose another symbol"));
        }
        if let Some(known) = of_main_network(&chain.id).filter(|known| known.decimals != native.decimals) {
            let why = format!("the coin of {} has {} decimals", chain.id, known.decimals);
            return self.errors.push(InputError::new(config.file, why).field(format!("{field}.decimals")));
        }
        let placed = Placed { symbol: native.symbol, decimals: native.decimals, layer: Layer::Native };
        self.placed.insert((chain.id.clone(), Asset::Native), placed);
    }

    fn add(&mut self, block: &AssetBlock, source: &Source<'_>, field: &str, layer: Layer) {
        let symbol = block.symbol.get_ref();
        let blank = source.error(block.symbol.span().start, "").field(format!("{field}.symbol"));
        if let Err(error) = self.spell(symbol, blank) {
            return self.errors.push(error);
        }
        if block.on.is_empty() {
            let error = source.error(block.symbol.span().start, format!("`{symbol}` is deployed nowhere"));
            self.errors.push(error.field(format!("{field}.on")));
        }
        for (nth, on) in block.on.iter().enumerate() {
            if let Err(error) = self.place(symbol, on, source, &format!("{field}.on[{nth}]"), layer) {
                self.errors.push(error);
            }
        }
    }

    fn place(
        &mut self,
        symbol: &str,
        on: &DeploymentBlock,
        source: &Source<'_>,
        field: &str,
        layer: Layer,
    ) -> Result<(), InputError> {
        let id = on.id.get_ref();
        let wrong_id = |why: String| source.error(on.id.span().start, why).field(format!("{field}.id"));
        let wrong_decimals =
            |why: String| source.error(on.decimals.span().start, why).field(format!("{field}.decimals"));
        let (chain, asset) = Asset::parse_caip19(id).map_err(|error| wrong_id(error.to_string()))?;
        let decimals = match u8::try_from(*on.decimals.get_ref()) {
            Ok(decimals) if i64::from(decimals) <= MOST_DECIMALS => decimals,
            _ => return Err(wrong_decimals(too_many(*on.decimals.get_ref()))),
        };
        let Some(configured) = self.chains.iter().find(|entry| entry.id == chain) else {
            return Ok(());
        };
        check_contract(configured, id).map_err(wrong_id)?;
        if let Some(there) = self.placed.get(&(chain.clone(), asset)) {
            if there.symbol != symbol {
                let error = wrong_id(format!("`{id}` is `{}` already, and cannot be `{symbol}` too", there.symbol));
                return Err(error.hint(match asset {
                    Asset::Native => "a chain's own coin is named by `native` in its [[chain]]".to_owned(),
                    Asset::Token(_) => format!("use the symbol `{}`", there.symbol),
                }));
            }
            if there.layer == layer {
                return Err(wrong_id(format!("`{id}` is listed twice")));
            }
            if there.layer == Layer::Native && there.decimals != decimals {
                let error = wrong_decimals(format!("`{symbol}` has {} decimals on {chain}", there.decimals));
                return Err(error.hint("a chain's own coin is described by `native` in its [[chain]]"));
            }
        }
        let native = self.placed.get(&(chain.clone(), Asset::Native)).filter(|native| native.symbol == symbol);
        if native.is_some() && asset != Asset::Native {
            let error = wrong_id(format!("`{symbol}` is the coin of {chain} itself, and cannot be a token there too"));
            return Err(error.hint("choose another symbol: holdings are summed by symbol"));
        }
        let others =
            self.placed.iter().filter(|(place, other)| other.symbol == symbol && **place != (chain.clone(), asset));
        if let Some((_, other)) = others.into_iter().find(|(_, other)| other.decimals.abs_diff(decimals) > MOST_APART) {
            let why = format!("`{symbol}` has {} decimals elsewhere, and {decimals} here", other.decimals);
            let error = wrong_decimals(why);
            return Err(error.hint(format!("sums are exact up to {MOST_APART} decimals apart: choose another symbol")));
        }
        self.placed.insert((chain, asset), Placed { symbol: symbol.into(), decimals, layer });
        Ok(())
    }

    /// Accepts a symbol that can be told from all others.
    fn spell(&mut self, symbol: &str, mut blank: InputError) -> Result<(), InputError> {
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':' | '`');
        if symbol.is_empty() || !symbol.chars().all(plain) {
            blank.why = format!("`{symbol}` is not a symbol: letters and digits, without spaces, `/` or `:`");
            return Err(blank);
        }
        let spelled = self.spelled.entry(symbol.to_lowercase()).or_insert_with(|| symbol.to_owned());
        if spelled == symbol {
            return Ok(());
        }
        blank.why = format!("`{symbol}` differs from the asset `{spelled}` in letter case only");
        Err(blank.hint(format!("write `{spelled}`, or choose another symbol")))
    }

    fn finish(self) -> Result<Vec<AssetEntry>, InputErrors> {
        let order = |id: &ChainId| self.chains.iter().position(|chain| chain.id == *id);
        let mut by_symbol: BTreeMap<String, Vec<Deployment>> = BTreeMap::new();
        for ((chain, asset), placed) in self.placed {
            let deployment = Deployment { chain, asset, decimals: placed.decimals };
            by_symbol.entry(placed.symbol).or_default().push(deployment);
        }
        let entries = by_symbol.into_iter().map(|(symbol, mut on)| {
            on.sort_by_key(|deployment| (order(&deployment.chain), deployment.asset));
            AssetEntry { symbol, on }
        });
        self.errors.or(entries.collect())
    }
}

fn too_many(decimals: i64) -> String {
    format!("{decimals} decimals: 0 to {MOST_DECIMALS} are possible")
}

/// A contract's address in mixed case carries a checksum, which the chain knows.
fn check_contract(chain: &ChainEntry, caip19: &str) -> Result<(), String> {
    match caip19.split_once("/erc20:") {
        Some((_, contract)) if contract.bytes().any(|b| b.is_ascii_uppercase()) => {
            chain.addresses.parse(contract).map(|_| ())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::fake;

    const USDT: &str = "0xdac17f958d2ee523a2206206994597c13d831ec7";
    const MINE: &str = "0x5fbdb2315678afecb367f032d93f642f64180aa3";

    #[derive(Deserialize)]
    struct Config {
        #[serde(default)]
        asset: Vec<AssetBlock>,
    }

    fn resolve(chains: &[(&str, Option<Native>)], text: &str) -> Result<Vec<AssetEntry>, InputErrors> {
        let entries: Vec<ChainEntry> = chains.iter().map(|(id, _)| fake::chain(id, id)).collect();
        let natives: Vec<ChainNative> =
            chains.iter().map(|(id, native)| ChainNative { id: id.parse().unwrap(), native: native.clone() }).collect();
        let config: Config = toml::from_str(text).unwrap();
        assets(&entries, &natives, &Source::new(Path::new("assay.toml"), text), &config.asset)
    }

    fn show(assets: &[AssetEntry]) -> Vec<String> {
        assets
            .iter()
            .flat_map(|entry| entry.on.iter().map(|on| format!("{} {} {}", entry.symbol, on.caip19(), on.decimals)))
            .collect()
    }

    #[test]
    fn only_what_lives_on_configured_chains_is_there() {
        let regtest = "bip122:0f9188f13cb7b2c71f2a335e3a4fc328";
        let found = resolve(&[(regtest, None), ("eip155:31337", None)], "").unwrap();
        assert_eq!(show(&found), [format!("BTC {regtest}/slip44:0 8"), "ETH eip155:31337/slip44:60 18".into()]);
        let main = resolve(&[("eip155:1", None)], "").unwrap();
        assert!(show(&main).contains(&format!("USDT eip155:1/erc20:{USDT} 6")));
    }

    #[test]
    fn the_configuration_extends_and_overrides() {
        let text = format!(
            r#"
            [[asset]]
            symbol = "USDT"
            on = [{{ id = "eip155:31337/erc20:{MINE}", decimals = 6 }}, {{ id = "eip155:1/erc20:{USDT}", decimals = 7 }},
                  {{ id = "eip155:56/erc20:{MINE}", decimals = 18 }}]
            "#
        );
        let found = show(&resolve(&[("eip155:1", None), ("eip155:31337", None)], &text).unwrap());
        let usdt: Vec<_> = found.iter().filter(|line| line.starts_with("USDT ")).collect();
        assert_eq!(usdt, [&format!("USDT eip155:1/erc20:{USDT} 7"), &format!("USDT eip155:31337/erc20:{MINE} 6")]);
    }

    #[test]
    fn a_chain_may_say_what_its_coin_is() {
        let native = Native { symbol: "MATIC".into(), decimals: 18 };
        let found = show(&resolve(&[("eip155:137", Some(native))], "").unwrap());
        assert!(found.contains(&"MATIC eip155:137/slip44:60 18".into()));
        assert!(!found.iter().any(|line| line.starts_with("POL ")));
        let error = resolve(&[("eip155:999", None)], "").unwrap_err();
        assert_eq!(error.to_string(), "assay.toml: chain[0].native: the coin of eip155:999 is not known here");
        assert!(error.errors()[0].hint.as_ref().unwrap().contains("native = {"));
    }

    #[test]
    fn every_coin_built_in_agrees_with_the_registry() {
        for id in ["eip155:1", "eip155:10", "eip155:56", "eip155:137", "eip155:8453", "eip155:42161", "eip155:43114"] {
            resolve(&[(id, None)], "").unwrap();
        }
    }

    #[test]
    fn contradictions_are_named_with_their_line() {
        let on = |id: &str, decimals: i64| format!("on = [{{ id = \"{id}\", decimals = {decimals} }}]");
        let mine = format!("eip155:1/erc20:{MINE}");
        let table = [
            ("X", on("eip155:1", 6), "3: asset[0].on[0].id: `eip155:1` is not a CAIP-19 asset id such as `eip155:1/erc20:0x…` or `eip155:1/slip44:60`".to_owned()),
            ("X", on(&mine, 78), "3: asset[0].on[0].decimals: 78 decimals: 0 to 77 are possible".into()),
            ("X", on(&mine, -1), "3: asset[0].on[0].decimals: -1 decimals: 0 to 77 are possible".into()),
            ("X", format!("on = [{{ id = \"{mine}\", decimals = 77 }}, {{ id = \"eip155:1/erc20:0x{}\", decimals = 16 }}]", "11".repeat(20)), "3: asset[0].on[1].decimals: `X` has 77 decimals elsewhere, and 16 here".into()),
            ("X", "on = []".into(), "2: asset[0].on: `X` is deployed nowhere".into()),
            ("X", on(&format!("eip155:1/erc20:{USDT}"), 6), format!("3: asset[0].on[0].id: `eip155:1/erc20:{USDT}` is `USDT` already, and cannot be `X` too")),
            ("X", on("eip155:1/slip44:60", 18), "3: asset[0].on[0].id: `eip155:1/slip44:60` is `ETH` already, and cannot be `X` too".into()),
            ("ETH", on("eip155:1/slip44:60", 8), "3: asset[0].on[0].decimals: `ETH` has 18 decimals on eip155:1".into()),
            ("ETH", on(&mine, 18), "3: asset[0].on[0].id: `ETH` is the coin of eip155:1 itself, and cannot be a token there too".into()),
            ("usdt", on(&mine, 6), "2: asset[0].symbol: `usdt` differs from the asset `USDT` in letter case only".into()),
            ("a b", on(&mine, 6), "2: asset[0].symbol: `a b` is not a symbol: letters and digits, without spaces, `/` or `:`".into()),
            ("X", on("eip155:1/erc20:0xDAC17f958d2ee523a2206206994597c13d831ecF", 6), "3: asset[0].on[0].id: `0xDAC17f958d2ee523a2206206994597c13d831ecF` has a wrong checksum".into()),
        ];
        for (symbol, on, expected) in table {
            let error =
                resolve(&[("eip155:1", None)], &format!("[[asset]]\nsymbol = \"{symbol}\"\n{on}\n")).unwrap_err();
            assert_eq!(error.to_string(), format!("assay.toml:{expected}"));
        }
        let gwei = Native { symbol: "ETH".into(), decimals: 9 };
        assert_eq!(
            resolve(&[("eip155:1", Some(gwei.clone()))], "").unwrap_err().to_string(),
            "assay.toml: chain[0].native.decimals: the coin of eip155:1 has 18 decimals"
        );
        assert!(resolve(&[("eip155:31337", Some(gwei))], "").is_ok(), "it is what its operator makes of it");
        let usdt = Native { symbol: "USDT".into(), decimals: 6 };
        assert_eq!(
            resolve(&[("eip155:1", Some(usdt))], "").unwrap_err().to_string(),
            "assay.toml: chain[0].native: `USDT` is a token on eip155:1, and cannot be its coin too"
        );
        let twice = format!("[[asset]]\nsymbol = \"X\"\n{0}\n[[asset]]\nsymbol = \"X\"\n{0}\n", on(&mine, 6));
        assert_eq!(
            resolve(&[("eip155:1", None)], &twice).unwrap_err().to_string(),
            format!(
                "assay.toml:5: asset[1].symbol: there is another [[asset]] with the symbol `X`\nassay.toml:6: asset[1].on[0].id: `{mine}` is listed twice"
            )
        );
    }
}
