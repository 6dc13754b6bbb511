using Pollux.Gateway.Authority;

namespace Pollux.Tests.Unit.Gateway;

public sealed class OperatorTokensTests : IDisposable
{
    private readonly string _directory = Directory.CreateTempSubdirectory("pollux-tokens-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    /// <summary>File systems keep times in steps: two changes of a directory in one of them look like one.</summary>
    [Fact]
    public void A_token_that_is_taken_away_in_the_very_moment_it_was_read_is_void()
    {
        var tokens = OperatorTokens.LoadOrCreate(_directory);
        var named = Path.Combine(_directory, OperatorTokens.NamedDirectory);
        var token = OperatorTokens.Issue(_directory, "ann");
        var step = DateTime.UtcNow;
        Directory.SetLastWriteTimeUtc(named, step);
        Assert.Equal("ann", tokens.NameOf(token));
        File.Delete(Path.Combine(named, "ann"));
        Directory.SetLastWriteTimeUtc(named, step);
        Assert.Null(tokens.NameOf(token));
    }
}
