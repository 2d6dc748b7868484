//! Go's template language, as far as addresses need it: text and the fields
//! `.ID`, `.Namespace` and `.Port`.

use dapr_components::nameresolution::ResolveRequest;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Id,
    Namespace,
    Port,
}

impl Template {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, next) =
                after.split_once("}}").ok_or_else(|| format!("template '{text}': unclosed action"))?;
            // A dash at either end trims the blanks beside the action.
            let (action, before) = match action.strip_prefix("- ") {
                Some(action) => (action, before.trim_end()),
                None => (action, before),
            };
            let (action, next) = match action.strip_suffix(" -") {
                Some(action) => (action, next.trim_start()),
                None => (action, next),
            };
            parts.push(Part::Text(before.to_owned()));
            parts.push(match action.trim() {
                ".ID" => Part::Id,
                ".Namespace" => Part::Namespace,
                ".Port" => Part::Port,
                other => {
                    return Err(format!(
                        "template '{text}': '{other}' is not supported: use .ID, .Namespace and .Port"
                    ));
                }
            });
            rest = next;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    pub(crate) fn render(&self, request: &ResolveRequest<'_>) -> String {
        let mut out = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Id => out.push_str(request.app_id),
                Part::Namespace => out.push_str(request.namespace),
                Part::Port => out.push_str(&request.port.to_string()),
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_filled_in() {
        let request = ResolveRequest { app_id: "a", namespace: "n", port: 5 };
        let render = |text: &str| Template::parse(text).map(|template| template.render(&request));
        assert_eq!(render("{{.ID}}.{{ .Namespace }}.x:{{.Port}}").unwrap(), "a.n.x:5");
        assert_eq!(render("x {{- .ID -}} y").unwrap(), "xay");
        assert_eq!(render("plain").unwrap(), "plain");
        assert!(render("{{.ID").unwrap_err().contains("unclosed"));
        assert!(render("{{if .ID}}x{{end}}").unwrap_err().contains("not supported"));
    }
}
