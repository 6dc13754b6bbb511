using System.ComponentModel;
using System.Diagnostics;
using System.Text;

namespace Pollux.DataPlane.Hypervisor;

/// <summary>Runs a program to its end within a deadline; after it the program is killed and the outcome is unknown.</summary>
internal static class ChildProcess
{
    /// <summary>Largest output kept, characters: a domain's description has some 10 KiB.</summary>
    private const int OutputMax = 256 * 1024;

    /// <param name="ExitCode">Null if it was killed or could not be started.</param>
    internal readonly record struct Result(int? ExitCode, string Output, string Error);

    public static async Task<Result> RunAsync(
        string file, IReadOnlyList<string> arguments, string? input, TimeSpan deadline, CancellationToken cancel)
    {
        var start = new ProcessStartInfo(file)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            // Answers are matched by their English words.
            Environment = { ["LC_ALL"] = "C" },
        };
        foreach (var argument in arguments)
            start.ArgumentList.Add(argument);

        using var process = new Process { StartInfo = start };
        try
        {
            process.Start();
        }
        catch (Win32Exception e)
        {
            return new Result(null, "", $"{file} cannot be started: {e.Message}");
        }

        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(deadline);
        try
        {
            await FeedAsync(process.StandardInput, input, limit.Token).ConfigureAwait(false);
            var output = ReadAsync(process.StandardOutput, limit.Token);
            var error = ReadAsync(process.StandardError, limit.Token);
            await process.WaitForExitAsync(limit.Token).ConfigureAwait(false);
            return new Result(process.ExitCode, await output.ConfigureAwait(false), await error.ConfigureAwait(false));
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            var left = WhyNotEnded(() => process.Kill(entireProcessTree: true));
            var word = arguments.FirstOrDefault(static word => !word.StartsWith('-'));
            return new Result(null, "", $"{file}{(word is null ? "" : $" {word}")} did not end within {deadline.TotalSeconds:0.#} s{(left is null ? "" : $" and cannot be killed: {left}")}");
        }
    }

    /// <summary>A program that cannot be killed is left behind; its outcome is unknown anyway.</summary>
    /// <returns>Null if the kill was delivered.</returns>
    internal static string? WhyNotEnded(Action kill)
    {
        try
        {
            kill();
            return null;
        }
        catch (Exception e) when (e is AggregateException or Win32Exception or InvalidOperationException or IOException)
        {
            return e.Message;
        }
    }

    private static async Task FeedAsync(StreamWriter writer, string? input, CancellationToken cancel)
    {
        try
        {
            if (input is not null)
                await writer.WriteAsync(input.AsMemory(), cancel).ConfigureAwait(false);
            writer.Close();
        }
        catch (IOException)
        {
            // It reads no more, or has ended already: its exit code says what that means.
            await writer.BaseStream.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static async Task<string> ReadAsync(StreamReader reader, CancellationToken cancel)
    {
        var text = new StringBuilder();
        var buffer = new char[4096];
        while (await reader.ReadAsync(buffer, cancel).ConfigureAwait(false) is > 0 and var count)
        {
            if (text.Length < OutputMax)
                text.Append(buffer, 0, count);
        }

        return text.ToString();
    }
}
