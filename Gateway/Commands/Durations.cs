using System.CommandLine.Parsing;
using System.Globalization;

namespace Pollux.Gateway.Commands;

/// <summary>Durations on the command line: <c>500ms</c>, <c>3s</c>, <c>2m</c>, <c>24h</c>; a bare number is seconds.</summary>
internal static class Durations
{
    public static TimeSpan Parse(ArgumentResult argument)
    {
        var text = argument.Tokens[0].Value;
        if (TryParse(text, out var duration)) return duration;
        argument.AddError($"'{text}' is not a duration such as 500ms, 3s, 2m or 24h.");
        return default;
    }

    public static bool TryParse(string text, out TimeSpan duration)
    {
        var (number, unitMs) = text switch
        {
            _ when text.EndsWith("ms", StringComparison.Ordinal) => (text[..^2], 1.0),
            _ when text.EndsWith('s') => (text[..^1], 1_000.0),
            _ when text.EndsWith('m') => (text[..^1], 60_000.0),
            _ when text.EndsWith('h') => (text[..^1], 3_600_000.0),
            _ => (text, 1_000.0),
        };
        var good = double.TryParse(number, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value) && value * unitMs <= 86_400_000;
        duration = good ? TimeSpan.FromMilliseconds(value * unitMs) : default;
        return good;
    }

    /// <summary>Roughly, for people: 850 ms, 12 s, 3 min, 5 h, 2 d.</summary>
    public static string Text(long milliseconds) => milliseconds switch
    {
        < 1_000 => $"{Math.Max(0, milliseconds)} ms",
        < 120_000 => $"{(milliseconds / 1000.0).ToString("0.#", CultureInfo.InvariantCulture)} s",
        < 7_200_000 => $"{milliseconds / 60_000} min",
        < 172_800_000 => $"{milliseconds / 3_600_000} h",
        _ => $"{milliseconds / 86_400_000} d",
    };
}
