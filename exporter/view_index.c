#include "view_parts.h"

static void add_html(struct strbuf *out, const char *text)
{
	struct strbuf clean = STRBUF_EMPTY;

	strbuf_add_clean(&clean, text);
	for (const char *next = strbuf_text(&clean); *next; next++) {
		if (*next == '&')
			strbuf_add(out, "&amp;");
		else if (*next == '<')
			strbuf_add(out, "&lt;");
		else if (*next == '>')
			strbuf_add(out, "&gt;");
		else if (*next == '"')
			strbuf_add(out, "&quot;");
		else
			strbuf_add_char(out, *next);
	}
	strbuf_discard(&clean, out);
}

static void add_path(struct strbuf *out, const char *path, const char *summary)
{
	strbuf_printf(out, "<dt><a href=\"%s\">%s</a></dt><dd>", path, path);
	add_html(out, summary);
	strbuf_add(out, "</dd>\n");
}

static void add_unseen(struct strbuf *out, const struct snapshot *snapshot)
{
	struct strbuf line = STRBUF_EMPTY;

	view_unseen(snapshot, &line);
	if (line.length) {
		strbuf_add(out, "<p>");
		add_html(out, line.text);
		strbuf_add(out, "</p>\n");
	}
	strbuf_discard(&line, out);
}

void view_index_render(const struct model *model, const struct view_params *params, struct strbuf *out)
{
	(void)params;
	strbuf_add(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>profshim: ");
	add_html(out, model->snapshot->program);
	strbuf_add(out, "</title></head>\n<body>\n<h1>profshim " PROFSHIM_VERSION ": ");
	add_html(out, model->snapshot->program);
	strbuf_add(out, "</h1>\n");
	add_unseen(out, model->snapshot);
	strbuf_add(out, "<dl>\n");
	for (const struct view *view = views; view->path; view++)
		add_path(out, view->path, view->summary);
	add_path(out, "/-/healthy", "200 while profshim serves");
	add_path(out, "/-/ready", "200 once a session is being profiled");
	strbuf_add(out, "</dl>\n</body>\n</html>\n");
}
