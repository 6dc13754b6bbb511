using System.Globalization;

namespace Pollux.Lab.Scenarios;

/// <summary>What happened when, relative to one moment; printed in the order of time, whoever saw it.</summary>
public sealed class Timeline(DateTimeOffset zero)
{
    private readonly List<(DateTimeOffset At, string Who, string What)> _entries = [];

    public DateTimeOffset Zero => zero;

    public void Add(DateTimeOffset at, string who, string what)
    {
        if (!_entries.Contains((at, who, what)))
            _entries.Add((at, who, what));
    }

    public void Add(DateTimeOffset? at, string who, string what)
    {
        if (at is { } known)
            Add(known, who, what);
    }

    public void Print(TextWriter output)
    {
        foreach (var (at, who, what) in _entries.OrderBy(entry => entry.At))
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"  {(at - zero).TotalSeconds,9:+0.000;-0.000} s  {who,-8} {what}"));
    }
}
