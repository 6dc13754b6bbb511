using System.Globalization;
using System.Text;
using Pollux.Grains.Abstractions;

namespace Pollux.Gateway.Commands;

/// <summary>A verify for people: a line, and below it what differs.</summary>
internal static class VerifyText
{
    public static string Of(VerifyReport verify, string indent)
    {
        var text = new StringBuilder(indent).Append(Line(verify)).Append('\n');
        foreach (var difference in verify.Differences)
        {
            text.Append(CultureInfo.InvariantCulture, $"{indent}  {difference.Path}: ");
            text.Append(difference.OffsetBytes is { } offset ? string.Create(CultureInfo.InvariantCulture, $"{difference.LengthBytes} bytes at {offset}") : difference.What).Append('\n');
        }
        if (verify.MoreDifferences > 0) text.Append(CultureInfo.InvariantCulture, $"{indent}  and {verify.MoreDifferences} more\n");
        return text.ToString();
    }

    public static string Line(VerifyReport verify)
    {
        var when = DateTimeOffset.FromUnixTimeMilliseconds(verify.EndedUnixMs ?? verify.StartedUnixMs).ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", CultureInfo.InvariantCulture);
        var percent = verify.TotalBytes > 0 ? (int)(100.0 * verify.DoneBytes / verify.TotalBytes) : 100;
        var progress = verify.State == "running" ? $"{percent} % of " : "";
        var found = verify is { DifferentBytes: 0, DifferentEntries: 0 } ? "no difference"
            : $"{StatusText.Bytes(verify.DifferentBytes)} and {verify.DifferentEntries} entries differ"
                + (verify.Repaired ? ", repaired" : verify.ResyncFollows ? ", a resync makes them equal" : "");
        var reason = verify.Reason is { } why ? $" ({why})" : "";
        return $"verify {verify.State}{reason} {when}: {progress}{StatusText.Bytes(verify.TotalBytes)} in {verify.TotalEntries} entries: {found}";
    }

    public static string Rate(long bytesPerSecond) => (bytesPerSecond / 1e6).ToString("0.#", CultureInfo.InvariantCulture) + " MB/s";
}
