//! Faults over HTTP: `POST /$emulator/faults/NAME?parameters`.

use hyper::{Method, StatusCode};

use crate::{duration, entity::Address, faults::Strike};

use super::{
    Call,
    answer::{Answer, error, with_body},
};

const KNOWN: &str = "detach?entity=PATH&closed=BOOL, drop, expire-tokens, expire-locks?entity=PATH, \
     busy?for=TIME, credits?per-second=N|off, delay?for=TIME, unanswered?messages=N, revoke-keys, stop, continue";

pub(super) fn perform(call: &Call, fault: &str) -> Answer {
    let wrong = |why: &str| error(StatusCode::BAD_REQUEST, why);
    if call.method != Method::POST {
        return Err(error(StatusCode::METHOD_NOT_ALLOWED, "POST a fault."));
    }
    let needed = |name: &str| {
        call.query(name)
            .ok_or_else(|| wrong(&format!("'{name}' is missing.")))
    };
    let time = || duration::parse(&needed("for")?).map_err(|why| wrong(&why));
    let faults = &call.broker.faults;
    match fault {
        "detach" => faults.strike(Strike::Detach {
            entity: call.query("entity"),
            closed: match call.query("closed").as_deref() {
                None | Some("true") => true,
                Some("false") => false,
                Some(_) => return Err(wrong("'closed' is true or false.")),
            },
        }),
        "drop" => faults.strike(Strike::Drop),
        "expire-tokens" => faults.strike(Strike::ExpireTokens),
        "expire-locks" => {
            let address = Address::parse(&needed("entity")?);
            let address = address.ok_or_else(|| wrong("'entity' names no entity."))?;
            call.broker
                .with(|namespace, now| namespace.break_locks(now, &address))?;
        }
        "busy" => faults.busy_for(time()?),
        "delay" => faults.set_delay(time()?),
        "credits" => {
            let number = needed("per-second")?;
            let credits = match number.as_str() {
                "off" => None,
                number => Some(
                    number
                        .parse()
                        .map_err(|_| wrong("'per-second' is a number, or off."))?,
                ),
            };
            faults.set_credits(credits);
        }
        "unanswered" => {
            let number = needed("messages")?.parse();
            faults.leave_unanswered(number.map_err(|_| wrong("'messages' is a number."))?);
        }
        "revoke-keys" => faults.revoke_keys(),
        "stop" | "continue" => {
            faults.stop(fault == "stop");
        }
        _ => {
            return Err(error(
                StatusCode::NOT_FOUND,
                &format!("The faults are: {KNOWN}."),
            ));
        }
    }
    Ok(with_body(
        StatusCode::OK,
        "text/plain; charset=utf-8",
        "done\n",
    ))
}
