"""plot - a line through points as SVG: logarithmic across, linear up."""
import math

WIDTH, HEIGHT = 480, 280
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 36, 44


def nice_ceiling(value):
    """The next 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value)


def plot(title, x_name, y_unit, points):
    """Points (x > 0, y >= 0), rising in x. The text of an SVG file."""
    low, high = math.log(points[0][0]), math.log(points[-1][0])
    top = nice_ceiling(max(y for _, y in points))
    across = lambda x: LEFT + (WIDTH - LEFT - RIGHT) * (math.log(x) - low) / (high - low or 1)
    up = lambda y: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / top
    parts = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">' % (WIDTH, HEIGHT),
             '<rect width="100%" height="100%" fill="white"/>',
             '<text x="%d" y="20" font-size="14">%s</text>' % (LEFT, title)]
    for step in range(5):
        y = top * step / 4
        parts.append('<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/>' % (LEFT, WIDTH - RIGHT, up(y), up(y)))
        parts.append('<text x="%d" y="%.1f" text-anchor="end">%g</text>' % (LEFT - 6, up(y) + 4, y))
    for x, _ in points:
        parts.append('<text x="%.1f" y="%d" text-anchor="middle">%g</text>' % (across(x), HEIGHT - BOTTOM + 18, x))
    parts.append('<text x="%d" y="%d" text-anchor="middle">%s</text>' % ((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_name))
    parts.append('<text x="8" y="%d">%s</text>' % (TOP, y_unit))
    parts.append('<polyline fill="none" stroke="#2457a5" stroke-width="2" points="%s"/>'
                 % " ".join("%.1f,%.1f" % (across(x), up(y)) for x, y in points))
    parts += ['<circle cx="%.1f" cy="%.1f" r="3" fill="#2457a5"><title>%g: %.4g %s</title></circle>'
              % (across(x), up(y), x, y, y_unit) for x, y in points]
    return "\n".join(parts) + "\n</svg>\n"
