using Pollux.DataPlane.Modules;
using Pollux.HostProtocol;

namespace Pollux.Tests.Unit.Hosts;

public sealed class HistoryFileTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("pollux-history-").FullName;

    private string FilePath => Path.Combine(_directory, "history");

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public async Task Events_outlive_the_process_in_their_order()
    {
        await StoreAsync(Event(1), Event(2, "deposed: \"b\"\nat epoch 4"));
        await StoreAsync(Event(3));
        await using var opened = new HistoryFile(_directory);
        Assert.Equal([Event(1), Event(2, "deposed: \"b\"\nat epoch 4"), Event(3)], opened.Earlier);
    }

    [Fact]
    public async Task A_torn_line_costs_only_itself()
    {
        await StoreAsync(Event(1), Event(2));
        using (var file = new FileStream(FilePath, FileMode.Open))
            file.SetLength(file.Length - 5);
        await StoreAsync(Event(3));
        await using var opened = new HistoryFile(_directory);
        Assert.Equal([Event(1), Event(3)], opened.Earlier);
    }

    [Fact]
    public async Task The_file_is_bounded_and_keeps_the_newest()
    {
        const int Batch = 100;
        var text = new string('x', 400);
        for (var first = 0; first < 1_500; first += Batch)
            await StoreAsync([.. Enumerable.Range(first, Batch).Select(number => Event(number, text))]);
        Assert.InRange(new FileInfo(FilePath).Length, HistoryFile.BytesMax / 4, HistoryFile.BytesMax);
        await using var opened = new HistoryFile(_directory);
        var kept = opened.Earlier.Select(happened => happened.UnixMs).ToList();
        Assert.Equal(1_499, kept[^1]);
        Assert.Equal(Enumerable.Range(0, kept.Count).Select(index => 1_500L - kept.Count + index), kept);
    }

    [Fact]
    public async Task A_module_shows_what_happened_before_the_process_started()
    {
        await using (var before = new ModuleHistory("c/m", new HistoryFile(_directory)))
            before.Add("role.changed", "ALONE ready (role.alone): b was excluded.");
        await using var history = new ModuleHistory("c/m", new HistoryFile(_directory));
        history.Add("role.changed", "WAIT transient (wait.arbiter): The process started.");
        Assert.Equal(["ALONE ready (role.alone): b was excluded.", "WAIT transient (wait.arbiter): The process started."], history.Events.Select(happened => happened.Text));
    }

    private async Task StoreAsync(params ModuleEvent[] events)
    {
        await using var file = new HistoryFile(_directory);
        foreach (var happened in events)
            file.Add(happened);
    }

    private static ModuleEvent Event(long unixMs, string text = "text") => new(unixMs, "role.changed", text, null);
}
