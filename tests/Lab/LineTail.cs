using System.Text;

namespace Pollux.Lab;

/// <summary>A line of a growing file and when the lab saw it (at most <see cref="LineTail.PollMs"/> after it was written).</summary>
public readonly record struct TimedLine(DateTimeOffset At, string Text);

/// <summary>Follows a file that other processes append to, line by line. The file may appear later. One reader thread of
/// the pool; the callback runs on it, in order, and must not block.</summary>
public sealed class LineTail : IAsyncDisposable
{
    public const int PollMs = 10;

    private readonly string _path;
    private readonly Action<TimedLine> _onLine;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _loop;
    private readonly StringBuilder _partial = new();

    public LineTail(string path, Action<TimedLine> onLine)
    {
        _path = path;
        _onLine = onLine;
        _loop = Task.Run(FollowAsync);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _loop;
        _stop.Dispose();
    }

    private async Task FollowAsync()
    {
        var buffer = new byte[64 * 1024];
        while (!_stop.IsCancellationRequested && !File.Exists(_path))
            await Task.Delay(PollMs, CancellationToken.None);
        if (_stop.IsCancellationRequested)
            return;
        await using var file = new FileStream(_path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete, 1);
        for (; ; )
        {
            var stopping = _stop.IsCancellationRequested;
            int count;
            while ((count = await file.ReadAsync(buffer, CancellationToken.None)) > 0)
                Take(Encoding.UTF8.GetString(buffer, 0, count));
            if (stopping)
                return;
            await Task.Delay(PollMs, CancellationToken.None);
        }
    }

    private void Take(string text)
    {
        var now = DateTimeOffset.UtcNow;
        foreach (var c in text)
        {
            if (c is not '\n')
            {
                _partial.Append(c);
                continue;
            }
            _onLine(new TimedLine(now, _partial.ToString().TrimEnd('\r')));
            _partial.Clear();
        }
    }
}
