//! The module `http_handler`: what a guest asks of and does to a request and
//! its answer. An error ends the guest's call.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version};
use wasmi::{Caller, Error, Linker};

use crate::memory;
use crate::state::{BUFFER_REQUEST, BUFFER_RESPONSE, Content, Exchange, State};

const MODULE: &str = "http_handler";
const SCOPE: &str = "dapr.middleware.http.wasm";

const REQUEST: u32 = 0;
const RESPONSE: u32 = 1;

type Host<'a> = Caller<'a, State>;

/// Makes the module known to `linker`.
pub fn link(linker: &mut Linker<State>) -> Result<(), Error> {
    linker
        .func_wrap(MODULE, "enable_features", |mut host: Host<'_>, wanted: u32| {
            host.data_mut().enable(wanted)
        })?
        .func_wrap(MODULE, "get_config", |mut host: Host<'_>, at: u32, limit: u32| {
            let config = host.data().config.clone();
            memory::write_within(&mut host, at, limit, config.as_bytes())
        })?
        .func_wrap(MODULE, "log_enabled", |level: i32| u32::from(log_enabled(level)))?
        .func_wrap(MODULE, "log", log)?
        .func_wrap(MODULE, "get_source_addr", |mut host: Host<'_>, at: u32, limit: u32| {
            let source = exchange(&mut host)?.source.clone();
            memory::write_within(&mut host, at, limit, source.as_bytes())
        })?;
    link_request(linker)?;
    link_headers(linker)?;
    link_rest(linker)
}

fn link_request(linker: &mut Linker<State>) -> Result<(), Error> {
    linker
        .func_wrap(MODULE, "get_method", |mut host: Host<'_>, at: u32, limit: u32| {
            let method = exchange(&mut host)?.request.method.clone();
            memory::write_within(&mut host, at, limit, method.as_str().as_bytes())
        })?
        .func_wrap(MODULE, "set_method", |mut host: Host<'_>, at: u32, len: u32| {
            let text = memory::read(&host, "method", at, len)?;
            let exchange = before_next(&mut host, "set method")?;
            exchange.request.method =
                Method::from_bytes(&text).map_err(|_| Error::new("HTTP method cannot be empty"))?;
            Ok(())
        })?
        .func_wrap(MODULE, "get_uri", |mut host: Host<'_>, at: u32, limit: u32| {
            let uri = &exchange(&mut host)?.request.uri;
            let text = uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
            memory::write_within(&mut host, at, limit, text.as_bytes())
        })?
        .func_wrap(MODULE, "set_uri", |mut host: Host<'_>, at: u32, len: u32| {
            let text = memory::read_text(&host, "uri", at, len)?;
            let uri = origin_form(&text)?;
            before_next(&mut host, "set uri")?.request.uri = uri;
            Ok(())
        })?
        .func_wrap(MODULE, "get_protocol_version", |mut host: Host<'_>, at: u32, limit: u32| {
            let text = match exchange(&mut host)?.request.version {
                Version::HTTP_10 => "HTTP/1.0",
                Version::HTTP_2 => "HTTP/2.0",
                _ => "HTTP/1.1",
            };
            memory::write_within(&mut host, at, limit, text.as_bytes())
        })?;
    Ok(())
}

fn link_headers(linker: &mut Linker<State>) -> Result<(), Error> {
    linker
        .func_wrap(MODULE, "get_header_names", |mut host: Host<'_>, kind: u32, at: u32, limit: u32| {
            let mut names: Vec<String> = match headers(&mut host, kind)? {
                Some(headers) => headers.keys().map(|name| name.as_str().to_owned()).collect(),
                None => Vec::new(),
            };
            names.sort_unstable();
            memory::write_texts(&mut host, at, limit, &names)
        })?
        .func_wrap(
            MODULE,
            "get_header_values",
            |mut host: Host<'_>, kind: u32, name: u32, len: u32, at: u32, limit: u32| {
                let name = header_name(&host, name, len)?;
                let values: Vec<HeaderValue> = match headers(&mut host, kind)? {
                    Some(headers) => headers.get_all(name).iter().cloned().collect(),
                    None => Vec::new(),
                };
                memory::write_texts(&mut host, at, limit, &values)
            },
        )?
        .func_wrap(
            MODULE,
            "set_header_value",
            |mut host: Host<'_>, kind: u32, name: u32, len: u32, value: u32, value_len: u32| {
                let (name, value) = (header_name(&host, name, len)?, header_value(&host, value, value_len)?);
                changeable(&mut host, kind, "set")?.insert(name, value);
                Ok(())
            },
        )?
        .func_wrap(
            MODULE,
            "add_header_value",
            |mut host: Host<'_>, kind: u32, name: u32, len: u32, value: u32, value_len: u32| {
                let (name, value) = (header_name(&host, name, len)?, header_value(&host, value, value_len)?);
                changeable(&mut host, kind, "add")?.append(name, value);
                Ok(())
            },
        )?
        .func_wrap(MODULE, "remove_header", |mut host: Host<'_>, kind: u32, name: u32, len: u32| {
            let name = header_name(&host, name, len)?;
            changeable(&mut host, kind, "remove")?.remove(name);
            Ok(())
        })?;
    Ok(())
}

fn link_rest(linker: &mut Linker<State>) -> Result<(), Error> {
    linker
        .func_wrap(MODULE, "read_body", |mut host: Host<'_>, kind: u32, at: u32, limit: u32| {
            if limit == 0 {
                return Err(Error::new("buf_limit==0 reading body"));
            }
            let body = readable(&mut host, kind)?;
            let rest = body.bytes.slice(body.read..);
            let piece = rest.slice(..rest.len().min(limit as usize));
            body.read += piece.len();
            let ended = piece.len() < limit as usize;
            memory::write(&mut host, at, &piece)?;
            Ok((u64::from(ended) << 32) | piece.len() as u64)
        })?
        .func_wrap(MODULE, "write_body", |mut host: Host<'_>, kind: u32, at: u32, len: u32| {
            let piece = memory::read(&host, "body", at, len)?;
            writable(&mut host, kind)?.write(&piece);
            Ok(())
        })?
        .func_wrap(MODULE, "get_status_code", |mut host: Host<'_>| {
            let exchange = exchange(&mut host)?;
            if exchange.after_next && exchange.features & BUFFER_RESPONSE == 0 {
                return Err(Error::new(
                    "can't get status code after next handler unless buffer_response is enabled",
                ));
            }
            Ok(u32::from(exchange.status.unwrap_or(StatusCode::OK).as_u16()))
        })?
        .func_wrap(MODULE, "set_status_code", |mut host: Host<'_>, code: u32| {
            let status = u16::try_from(code).ok().and_then(|code| StatusCode::from_u16(code).ok());
            let status = status.ok_or_else(|| Error::new(format!("invalid WriteHeader code {code}")))?;
            answerable(&mut host, "set status code")?.status = Some(status);
            Ok(())
        })?;
    Ok(())
}

fn log_enabled(level: i32) -> bool {
    match level {
        2 => tracing::enabled!(target: SCOPE, tracing::Level::ERROR),
        1 => tracing::enabled!(target: SCOPE, tracing::Level::WARN),
        0 => tracing::enabled!(target: SCOPE, tracing::Level::INFO),
        -1 => tracing::enabled!(target: SCOPE, tracing::Level::DEBUG),
        _ => false,
    }
}

fn log(host: Host<'_>, level: i32, at: u32, len: u32) -> Result<(), Error> {
    let message = memory::read_text(&host, "message", at, len)?;
    match level {
        2 => tracing::error!(target: SCOPE, "{message}"),
        1 => tracing::warn!(target: SCOPE, "{message}"),
        0 => tracing::info!(target: SCOPE, "{message}"),
        -1 => tracing::debug!(target: SCOPE, "{message}"),
        _ => {}
    }
    Ok(())
}

fn exchange<'a>(host: &'a mut Host<'_>) -> Result<&'a mut Exchange, Error> {
    host.data_mut().exchange.as_mut().ok_or_else(|| Error::new("there is no request at the start"))
}

/// What the request was cannot be changed once it went on.
fn before_next<'a>(host: &'a mut Host<'_>, what: &str) -> Result<&'a mut Exchange, Error> {
    let exchange = exchange(host)?;
    if exchange.after_next {
        return Err(Error::new(format!("can't {what} after next handler")));
    }
    Ok(exchange)
}

/// What was answered can be changed if that was asked for.
fn answerable<'a>(host: &'a mut Host<'_>, what: &str) -> Result<&'a mut Exchange, Error> {
    let exchange = exchange(host)?;
    if exchange.after_next && exchange.features & BUFFER_RESPONSE == 0 {
        let text = format!("can't {what} after next handler unless buffer_response is enabled");
        return Err(Error::new(text));
    }
    Ok(exchange)
}

/// `None` for trailers, which this host has none of.
fn headers<'a>(host: &'a mut Host<'_>, kind: u32) -> Result<Option<&'a HeaderMap>, Error> {
    let exchange = exchange(host)?;
    match kind {
        REQUEST => Ok(Some(&exchange.request.headers)),
        RESPONSE => Ok(Some(&exchange.headers)),
        2 | 3 => Ok(None),
        _ => Err(Error::new(format!("unsupported header kind: {kind}"))),
    }
}

fn changeable<'a>(host: &'a mut Host<'_>, kind: u32, verb: &str) -> Result<&'a mut HeaderMap, Error> {
    match kind {
        REQUEST => Ok(&mut before_next(host, &format!("{verb} request header"))?.request.headers),
        RESPONSE => Ok(&mut answerable(host, &format!("{verb} response header"))?.headers),
        2 | 3 => Err(Error::new("trailers are not supported by this host")),
        _ => Err(Error::new(format!("unsupported header kind: {kind}"))),
    }
}

fn readable<'a>(host: &'a mut Host<'_>, kind: u32) -> Result<&'a mut Content, Error> {
    match kind {
        REQUEST => {
            let exchange = exchange(host)?;
            if exchange.after_next && exchange.features & BUFFER_REQUEST == 0 {
                let text = "can't read request body after next handler unless buffer_request is enabled";
                return Err(Error::new(text));
            }
            Ok(&mut exchange.request_body)
        }
        RESPONSE => Ok(&mut answerable(host, "read response body")?.response_body),
        _ => Err(Error::new(format!("unsupported body kind: {kind}"))),
    }
}

fn writable<'a>(host: &'a mut Host<'_>, kind: u32) -> Result<&'a mut Content, Error> {
    match kind {
        REQUEST => Ok(&mut before_next(host, "write request body")?.request_body),
        RESPONSE => Ok(&mut answerable(host, "write response body")?.response_body),
        _ => Err(Error::new(format!("unsupported body kind: {kind}"))),
    }
}

fn header_name(host: &Host<'_>, at: u32, len: u32) -> Result<HeaderName, Error> {
    if len == 0 {
        return Err(Error::new("HTTP header name cannot be empty"));
    }
    let name = memory::read(host, "name", at, len)?;
    HeaderName::from_bytes(&name)
        .map_err(|_| Error::new(format!("invalid header name {:?}", String::from_utf8_lossy(&name))))
}

fn header_value(host: &Host<'_>, at: u32, len: u32) -> Result<HeaderValue, Error> {
    let value = memory::read(host, "value", at, len)?;
    HeaderValue::from_bytes(&value).map_err(|_| Error::new("invalid header value"))
}

/// Path and query; empty text is the root.
fn origin_form(text: &str) -> Result<Uri, Error> {
    let text = if text.is_empty() { "/" } else { text };
    let uri: Uri = text.parse().map_err(|e| Error::new(format!("parse {text:?}: {e}")))?;
    if uri.path().starts_with('/') {
        return Ok(uri);
    }
    Err(Error::new(format!("parse {text:?}: invalid URI for request")))
}
