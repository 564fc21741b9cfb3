//! Output descriptors (BIP 380 and those after it) become scripts.

use std::str::FromStr;

use assay_types::Account;
use bitcoin::NetworkKind;
use bitcoin::secp256k1::{Secp256k1, VerifyOnly};
use miniscript::ForEachKey as _;
use miniscript::descriptor::{Descriptor, DescriptorPublicKey, Wildcard};

use crate::network::Network;

/// The most accounts that one descriptor may stand for.
const MAX_ACCOUNTS: u64 = 10_000_000;
/// Descriptors that stand for several scripts, for an address or for bare bytes; miniscript has none of them.
const UNSUPPORTED: [&str; 4] = ["combo", "addr", "raw", "rawtr"];
/// Indices from here on are hardened (BIP 32).
const FIRST_HARDENED_INDEX: u32 = 1 << 31;

/// The scripts of a descriptor: path by path where it has several (`<0;1>`), index by index in each.
pub(crate) fn expand(network: &Network, descriptor: &str, range: Option<(u32, u32)>) -> Result<Vec<Account>, String> {
    refuse_unsupported(descriptor)?;
    refuse_private_keys(descriptor)?;
    let parsed = Descriptor::<DescriptorPublicKey>::from_str(descriptor)
        .map_err(|error| format!("the descriptor cannot be read: {error}"))?;
    check_keys(network, &parsed)?;
    let (first, last) = indices(&parsed, range)?;
    let paths = parsed.into_single_descriptors().map_err(|error| format!("the descriptor cannot be read: {error}"))?;
    let count = (u64::from(last - first) + 1).saturating_mul(paths.len() as u64);
    if count > MAX_ACCOUNTS {
        return Err(format!("the descriptor stands for {count} accounts, more than {MAX_ACCOUNTS}: split its range"));
    }
    let secp = Secp256k1::verification_only();
    paths.iter().flat_map(|path| (first..=last).map(|index| script_at(&secp, path, index))).collect()
}

fn script_at(
    secp: &Secp256k1<VerifyOnly>,
    path: &Descriptor<DescriptorPublicKey>,
    index: u32,
) -> Result<Account, String> {
    let definite = path.at_derivation_index(index).map_err(|error| format!("index {index}: {error}"))?;
    Ok(Account::new(definite.derived_descriptor(secp).script_pubkey().as_bytes()))
}

fn refuse_unsupported(descriptor: &str) -> Result<(), String> {
    match descriptor.split_once('(') {
        Some((name, _)) if UNSUPPORTED.contains(&name) => Err(format!(
            "`{name}` descriptors are not supported: give one descriptor for each kind of script, or an address, or script:HEX"
        )),
        _ => Ok(()),
    }
}

/// Nobody should hand out keys that can spend; whoever does so by mistake must not find them in a log as well. So this
/// comes before anything that could repeat the text.
fn refuse_private_keys(descriptor: &str) -> Result<(), String> {
    let wif = |token: &str| {
        matches!(token.len(), 51 | 52)
            && token.starts_with(['5', 'K', 'L', '9', 'c'])
            && token.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    // `xprv`, `tprv`, `zprv` and the like; the same letters farther on say nothing, public keys have them too.
    let extended =
        |token: &str| token.len() > 20 && token.get(1..4).is_some_and(|kind| kind.eq_ignore_ascii_case("prv"));
    let mut tokens = descriptor.split(|c: char| !c.is_ascii_alphanumeric());
    if tokens.any(|token| wif(token) || extended(token)) {
        return Err("the descriptor holds a private key: give the one with public keys only (xpub), and consider \
                    the coins of this one endangered"
            .into());
    }
    Ok(())
}

fn check_keys(network: &Network, descriptor: &Descriptor<DescriptorPublicKey>) -> Result<(), String> {
    let hardened = |key: &DescriptorPublicKey| key.has_hardened_step() || key.wildcard() == Some(Wildcard::Hardened);
    if descriptor.for_any_key(hardened) {
        return Err(
            "the descriptor derives hardened keys (`'` or `h`) behind a public key, which takes the private key: \
                    give the public key of the last hardened step"
                .into(),
        );
    }
    let ours = NetworkKind::from(network.kind);
    if descriptor.for_any_key(|key| key.xkey_network().is_some_and(|theirs| theirs != ours)) {
        let (theirs, expected) = match ours {
            NetworkKind::Main => ("tpub, of the test networks", "xpub"),
            NetworkKind::Test => ("xpub, of the main network", "tpub"),
        };
        return Err(format!("the descriptor has keys that are {theirs}: on {} {expected} is expected", network.name));
    }
    Ok(())
}

/// The first and last index; a descriptor without `*` has only one.
fn indices(descriptor: &Descriptor<DescriptorPublicKey>, range: Option<(u32, u32)>) -> Result<(u32, u32), String> {
    match (descriptor.has_wildcard(), range) {
        (true, None) => Err("the descriptor has a `*` and needs a range, such as [0, 999]".into()),
        (false, Some(_)) => Err("the descriptor has no `*`: a range has no meaning".into()),
        (false, None) => Ok((0, 0)),
        (true, Some((first, last))) if first > last => {
            Err(format!("the range [{first}, {last}] ends before it begins"))
        }
        (true, Some((_, last))) if last >= FIRST_HARDENED_INDEX => {
            Err(format!("the range ends at {last}: an index is at most {}", FIRST_HARDENED_INDEX - 1))
        }
        (true, Some(range)) => Ok(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_key_that_happens_to_spell_prv_is_no_private_one() {
        let key = "tpubDDac9koZV1WQ8wfHNquWUTcrVsMXjRnpoPRv8UAgZVoLp56dWdq24pncc4Bgy3yRxjLyam6j38jpTPsu1TxL8uw3EbUtNdCKKN2WXLYr7nV";
        assert_eq!(refuse_private_keys(&format!("wpkh([ab0c99da/84h/1h/0h]{key}/0/*)#rz2s28zk")), Ok(()));
        for secret in ["tprv", "xprv", "Zprv"] {
            let key = key.replace("tpub", secret);
            assert!(refuse_private_keys(&format!("wpkh([ab0c99da/84h/1h/0h]{key}/0/*)")).is_err(), "{secret}");
        }
    }

    const XPUB: &str = "xpub6BgBgsespWvERF3LHQu6CnqdvfEvtMcQjYrcRzx53QJjSxarj2afYWcLteoGVky7D3UKDP9QyrLprQ3VCECoY49yfdDEHGCtMMj92pReUsQ";
    const TPUB: &str = "tpubD6NzVbkrYhZ4XgiXtGrdW5XDAPFCL9h7we1vwNCpn8tGbBcgfVYjXyhWo4E1xkh56hjod1RhGjxbaTLV3X4FyWuejifB9jusQ46QzG87VKp";
    const XPRV: &str = "xprv9s21ZrQH143K31xYSDQpPDxsXRTUcvj2iNHm5NUtrGiGG5e2DtALGdso3pGz6ssrdK4PFmM8NSpSBHNqPqm55Qn3LqFtT2emdEXVYsCzC2U";
    const WIF: &str = "KwDiBf89QgGbjEhKnhXJuH7LrciVrZi3qYjgd9M7rFU73sVHnoWn";
    const KEY: &str = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798";

    fn main() -> &'static Network {
        Network::of(&"bip122:000000000019d6689c085ae165831e93".parse().unwrap()).unwrap()
    }

    fn expanded(descriptor: &str, range: Option<(u32, u32)>) -> Result<Vec<String>, String> {
        let accounts = expand(main(), descriptor, range)?;
        Ok(accounts.iter().map(|account| const_hex::encode(&account.0)).collect())
    }

    #[test]
    fn a_descriptor_stands_for_its_scripts_in_order() {
        // BIP 86 and the generator point: known scripts.
        let taproot = expanded(&format!("tr({XPUB}/0/*)"), Some((0, 2))).unwrap();
        assert_eq!((taproot.len(), &taproot[0][..4]), (3, "5120"));
        assert_eq!(expanded(&format!("wpkh({KEY})"), None).unwrap(), ["0014751e76e8199196d454941c45d1b3a323f1433bd6"],);
        assert_eq!(expanded(&format!("pk({KEY})"), None).unwrap(), [format!("21{KEY}ac")]);
        assert_eq!(expanded(&format!("multi(1,{KEY})"), None).unwrap(), [format!("5121{KEY}51ae")]);
        let both = expanded(&format!("wsh(sortedmulti(1,{XPUB}/<0;1>/*,{KEY}))"), Some((5, 6))).unwrap();
        let of = |path: u32| expanded(&format!("wsh(sortedmulti(1,{XPUB}/{path}/*,{KEY}))"), Some((5, 6))).unwrap();
        assert_eq!(both, [of(0), of(1)].concat());
    }

    #[test]
    fn the_checksum_counts_if_it_is_there() {
        let bare = format!("wpkh({KEY})");
        let with = Descriptor::<DescriptorPublicKey>::from_str(&bare).unwrap().to_string();
        assert!(with.contains('#'));
        assert_eq!(expanded(&with, None), expanded(&bare, None));
        let wrong = with.replace("wpkh", "pkh");
        assert!(expanded(&wrong, None).unwrap_err().contains("checksum"));
    }

    #[test]
    fn what_cannot_be_followed_is_refused_in_words() {
        let range = Some((0, 1));
        let table = [
            (format!("wpkh({XPUB}/*)"), None, "needs a range"),
            (format!("wpkh({XPUB}/0)"), range, "no `*`"),
            (format!("wpkh({XPUB}/*)"), Some((2, 1)), "ends before"),
            (format!("wpkh({XPUB}/*)"), Some((0, u32::MAX)), "at most"),
            (format!("wpkh({XPUB}/*)"), Some((0, 10_000_000)), "more than"),
            (format!("wpkh({XPUB}/<0;1>/*)"), Some((0, 5_000_000)), "more than"),
            (format!("wpkh({XPUB}/*')"), range, "hardened"),
            (format!("wpkh({XPUB}/0h/*)"), range, "hardened"),
            (format!("wpkh({TPUB}/*)"), range, "the main network"),
            (format!("wpkh({XPRV}/*)"), range, "private key"),
            (format!("wpkh({WIF})"), None, "private key"),
            (format!("combo({KEY})"), None, "`combo`"),
            ("addr(1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa)".into(), None, "`addr`"),
            ("raw(51)".into(), None, "`raw`"),
            (format!("rawtr({KEY})"), None, "`rawtr`"),
            ("nonsense".into(), None, "cannot be read"),
            (String::new(), None, "cannot be read"),
            ("wpkh(€)".into(), None, "cannot be read"),
        ];
        for (descriptor, range, words) in table {
            let error = expanded(&descriptor, range).unwrap_err();
            assert!(error.contains(words), "{descriptor}: {error}");
            assert!(!error.contains(XPRV) && !error.contains(WIF), "a key is echoed");
        }
    }

    #[test]
    fn test_networks_take_only_their_own_keys() {
        let regtest = Network::of(&"bip122:0f9188f13cb7b2c71f2a335e3a4fc328".parse().unwrap()).unwrap();
        assert_eq!(expand(regtest, &format!("wpkh({TPUB}/*)"), Some((0, 9))).unwrap().len(), 10);
        assert!(expand(regtest, &format!("wpkh({XPUB}/*)"), Some((0, 9))).unwrap_err().contains("regtest"));
    }
}
